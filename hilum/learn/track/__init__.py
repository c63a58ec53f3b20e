"""Trackers: one file each, found by the catalogue. A file has a CARD (about, package, extra) and a class Tracker."""
