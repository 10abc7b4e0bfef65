//! Every bound of the codec, with the reason for its number.
