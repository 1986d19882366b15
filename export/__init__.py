"""Student or teacher → versioned SavedModel with what TensorFlow Serving needs beside it."""
