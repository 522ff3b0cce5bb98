"""A fuzz run: it explores, reduces, and writes its folder."""
