"""Raw MR data: HDF5 and XML read with care, ISMRMRD acquisitions."""
