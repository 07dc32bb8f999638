"""What an event is, and who is how far: sessions, cursors, streams and channels. It calls no port."""
