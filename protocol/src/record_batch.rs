//! Record batches of magic 2.
