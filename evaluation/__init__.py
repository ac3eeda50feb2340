"""Scores: skills, splits, exams and statistics."""
