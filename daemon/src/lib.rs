//! The product `offhook` as a library.
