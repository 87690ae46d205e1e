"""What is hidden before a line is written: by the name of a field, by the shape of a value, in whole and in torn documents."""
