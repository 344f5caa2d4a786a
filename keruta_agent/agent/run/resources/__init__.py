"""What the processes of a run use, and whether memory ran out."""
