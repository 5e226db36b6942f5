"""What a study predicts, one file a kind: its columns, their checks, and how good a prediction of it is."""
