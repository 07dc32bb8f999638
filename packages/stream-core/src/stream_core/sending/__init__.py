"""How records leave: topics, held sends, sends outside of events, dead letters."""
