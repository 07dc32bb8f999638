"""The package tests on every Python of this machine."""
