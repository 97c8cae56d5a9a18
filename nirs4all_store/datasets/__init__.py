"""Spectra from files, tables and arrays, checked."""
