"""The process of a program: its standard streams and the processes that it starts."""
