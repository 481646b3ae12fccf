"""Advice on labels: which pictures to label next, which labels to doubt, and labels for the pictures without one."""
