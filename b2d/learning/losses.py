"""Losses of the student: pointwise against tempered soft labels, and margins between titles of one query.

All take the student's logits as they are and give one value a row (or pair); the caller averages.
"""

import tensorflow as tf


def soft_targets(teacher_logits: tf.Tensor, temperature: float) -> tf.Tensor:
  """Tempered teacher probabilities, softmax(t / T).

  Args:
    teacher_logits: float [batch, num_classes], unscaled.
    temperature: T > 0; 1 leaves the teacher as it is.

  Returns:
    float [batch, num_classes].

  Raises:
    ValueError: `temperature` is not positive.
  """
  if temperature <= 0:
    raise ValueError(f'temperature {temperature}: expected a positive number')
  return tf.nn.softmax(teacher_logits / temperature)


def cross_entropy(
  student_logits: tf.Tensor, targets: tf.Tensor, *, temperature: float = 1.0, rule: str = 'paper'
) -> tf.Tensor:
  """Cross-entropy of the student against target probabilities.

      loss_i = -s · Σ_c p_ic · log softmax(z_i / T_s)_c

  T_s = s = 1 for 'paper' (BERT2DNN: only the teacher is softened); T_s = T, s = T² for 'hinton' (Hinton et
  al. 2015; T² keeps the size of the gradient).

  Args:
    student_logits: float [batch] (one logit for two classes) or [batch, num_classes], unscaled.
    targets: float [batch, num_classes], rows sum to 1.
    temperature: T > 0.
    rule: 'paper' or 'hinton'.

  Returns:
    float [batch].
  """
  scale = 1.0
  if rule == 'hinton':
    student_logits, scale = student_logits / temperature, temperature**2
  if student_logits.shape.rank == 1:
    values = tf.nn.sigmoid_cross_entropy_with_logits(targets[:, 1], student_logits)
  else:
    values = tf.nn.softmax_cross_entropy_with_logits(targets, student_logits)
  return scale * values


def hard_targets(labels: tf.Tensor, num_classes: int, graded: bool) -> tf.Tensor:
  """Target probabilities of hard labels.

  Args:
    labels: float [batch]: class index, or with `graded` the probability of the second of two classes.
    num_classes: number of classes.
    graded: what `labels` are.

  Returns:
    float [batch, num_classes].
  """
  if graded:
    return tf.stack([1 - labels, labels], axis=1)
  return tf.one_hot(tf.cast(labels, tf.int32), num_classes)


def margin_loss(student_logits: tf.Tensor, teacher_margins: tf.Tensor, groups: tf.Tensor) -> tf.Tensor:
  """Squared error of score differences between neighbouring rows of one query (arXiv 2505.07105).

      loss_i = ((z_i - z_{i+1}) - (m_i - m_{i+1}))²  where rows i and i + 1 share their query, else 0

  Args:
    student_logits: float [batch].
    teacher_margins: float [batch], the teacher's logit of relevance.
    groups: [batch], equal for rows of one query; rows of one query stand together.

  Returns:
    float [batch - 1].
  """
  same = tf.cast(tf.equal(groups[1:], groups[:-1]), student_logits.dtype)
  student = student_logits[1:] - student_logits[:-1]
  teacher = teacher_margins[1:] - teacher_margins[:-1]
  return same * tf.square(student - teacher)
