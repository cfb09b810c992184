"""Models outside of Keras: endpoints of SavedModels, ONNX and LiteRT files."""
