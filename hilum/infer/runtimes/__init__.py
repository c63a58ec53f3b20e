"""Ways to compute a network, one file each: `prepare(net, example, stored) -> Look`. _choose.py picks one by name."""
