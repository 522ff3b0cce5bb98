"""What every stage needs: the case, the machine, the process, and words. It imports no other stage."""
