"""Deletes what exports wrote when its time has come."""
