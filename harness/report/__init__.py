"""What a person or another program reads of failures and runs."""
