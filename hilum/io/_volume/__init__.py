"""What the volume formats share: headers, streams, voxels, upright grids."""
