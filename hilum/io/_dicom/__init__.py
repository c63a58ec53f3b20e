"""What the DICOM formats share: one file, one series, codecs, objects that refer to images."""
