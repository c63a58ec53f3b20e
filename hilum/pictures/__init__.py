"""Findings drawn on images (`draw`), and the self-contained HTML page of inspect, training and reports (`page`)."""
