"""The classic mistakes, planted one at a time: each must turn a named test red."""
