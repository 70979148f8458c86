"""Classifier = backbone + one head a finding; pure torch."""
