"""Where sordino leaves one machine: the protocol inside engines that hospitals already run."""
