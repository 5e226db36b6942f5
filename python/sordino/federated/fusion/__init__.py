"""Models over several modalities, blocks of features that not every site has, and over missing values."""
