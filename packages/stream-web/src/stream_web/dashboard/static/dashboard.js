"use strict";
// Puts the parts of the page that have changed in their places. They come as HTML, in which all text is escaped already.
(() => {
  const events = new URL("events", document.currentScript.src);
  const SILENT = 10000; // milliseconds without a word after which the page says that it is old
  const AGAIN = 3000; // milliseconds before a connection that the browser gave up is tried again
  const connection = document.getElementById("connection");
  const pause = document.getElementById("pause");
  let source = null;
  let heard = Date.now();
  let timer = 0;

  const say = (text) => {
    if (connection.textContent !== text) connection.textContent = text;
  };

  const put = (place, html) => {
    const focused = place.contains(document.activeElement) && place !== document.activeElement ? document.activeElement.id : "";
    const open = [...place.querySelectorAll("details")].map((one) => one.open);
    place.innerHTML = html;
    place.querySelectorAll("details").forEach((one, number) => { one.open = open[number] || false; });
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  };

  const take = (event) => {
    heard = Date.now();
    say("live");
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      const place = document.getElementById(id);
      if (place !== null) put(place, html);
    }
  };

  const connect = () => {
    source = new EventSource(events);
    source.addEventListener("parts", take);
    source.onerror = () => {
      if (source !== null && source.readyState === EventSource.CLOSED) {
        clearTimeout(timer);
        timer = setTimeout(connect, AGAIN);
      }
    };
  };

  const disconnect = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };

  // A page in the background needs no connection: browsers have only a few to one server, whatever the number of pages.
  const go = () => {
    const paused = pause.getAttribute("aria-pressed") === "true";
    disconnect();
    if (paused) say("paused");
    if (paused || document.hidden) return;
    heard = Date.now();
    connect();
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    pause.setAttribute("aria-pressed", String(pause.getAttribute("aria-pressed") !== "true"));
    go();
  });
  document.addEventListener("visibilitychange", go);
  setInterval(() => {
    if (source !== null && Date.now() - heard > SILENT) {
      say(`no connection since ${new Date(heard).toLocaleTimeString()}`);
    }
  }, 1000);
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", (event) => { if (event.persisted) go(); });
  go();
})();
