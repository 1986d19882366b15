"""What is trained: the text processing that models share, the student, the teacher, and how a trained one is called."""
