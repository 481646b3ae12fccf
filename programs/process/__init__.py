"""The process of a program: its standard streams, its home folder and the processes that it starts."""
