"""What a run leaves behind, read event by event."""
