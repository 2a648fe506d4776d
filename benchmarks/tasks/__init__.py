"""The tasks of the MIPRO paper: program, data, and metric, one file each."""
