"""Tables in files, as streams of features and labels."""
