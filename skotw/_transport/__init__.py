"""The numerical core: transport between N weighted rows and M trusted ones, in blocks.

It knows arrays only (NumPy, torch, CuPy; scipy sparse rows): no scikit-learn, no validation, no input or output.
"""
