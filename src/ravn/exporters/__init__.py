"""5 HAND OVER: the network for other runtimes: ONNX with packed weights, torch.export, plain PyTorch."""
