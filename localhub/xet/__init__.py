"""Xet transfers: large files as chunks that the genuine client exchanges with a storage beside the Hub."""
