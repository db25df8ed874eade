"""All that the command line shows, a file for each kind of result; the only user of rich."""
