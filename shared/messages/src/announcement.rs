//! What is said, whatever the channel.

/// One message to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// One line: `release of shop: approval needed`.
    pub title: String,
    /// Paragraphs of plain text.
    pub text: Vec<String>,
    /// Names and values.
    pub facts: Vec<(String, String)>,
    /// Where to see more.
    pub link: Option<Link>,
    /// What can be answered right there, where the channel can.
    pub ask: Option<Ask>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What a person reads.
    pub label: String,
    /// Absolute address.
    pub url: String,
}

/// Buttons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The answers, one button each.
    pub answers: Vec<Answer>,
    /// Inputs to choose from.
    pub options: Vec<String>,
    /// Which question the answer is to; comes back with it.
    pub reference: String,
}

/// One button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Comes back: `continue`.
    pub name: String,
    /// What a person reads.
    pub label: String,
    /// The one that is meant to be the usual one.
    pub primary: bool,
}
