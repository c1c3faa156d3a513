"""Kicks off exports at sources, polls them and loads their files into the resource store."""
