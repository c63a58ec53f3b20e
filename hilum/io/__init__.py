"""One file per format, each reads and writes; `open` chooses among them by their CARDs.

Importing this room is cheap: nibabel, pydicom, Pillow, h5py and the others are loaded when a file is read or written.
"""

from hilum.io._source import FileSource, is_image, is_series, open

__all__ = ["FileSource", "is_image", "is_series", "open"]
