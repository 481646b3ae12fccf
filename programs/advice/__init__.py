"""What the programs that advise on labels share."""
