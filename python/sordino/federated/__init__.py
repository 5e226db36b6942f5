"""Federated training: what a site sends, what the coordinator does with the sum."""
