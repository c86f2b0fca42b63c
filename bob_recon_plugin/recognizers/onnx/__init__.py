"""Convert ONNX files to torch networks."""
