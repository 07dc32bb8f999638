"""The dashboard: what all workers of an app do, as a page that any of them shows."""
