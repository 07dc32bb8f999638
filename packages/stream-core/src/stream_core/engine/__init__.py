"""What runs all of it: ownership, intervals, topology. The only room that calls the ports of a broker."""
