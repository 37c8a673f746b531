//! What rules ask of an expression. The expressions themselves are not here.

/// A condition on a context `C`: an item, an answer.
pub trait Holds<C>: Send + Sync {
    /// Whether it holds.
    ///
    /// # Errors
    /// Why that cannot be said, in words that quote nothing of the context.
    fn holds(&self, context: &C) -> Result<bool, String>;
}
