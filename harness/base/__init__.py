"""The basis of every stage: cases, the machine, the process, and text. It imports no other stage."""
