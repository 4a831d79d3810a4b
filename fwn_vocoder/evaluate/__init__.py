"""Evaluation: measures and reports."""
