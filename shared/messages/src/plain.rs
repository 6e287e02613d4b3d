//! Plain text: what is left of instructions that were written in HTML.

/// At most so many characters; the last of them tells that there was more.
#[must_use]
pub fn clipped(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let mut clipped: String = text.chars().take(characters.saturating_sub(1)).collect();
    clipped.push('…');
    clipped
}

/// Text without HTML: tags are left out, those that end a line end it, entities are what they stand for.
///
/// Spinnaker's instructions may be HTML. Nothing of it is ever shown as HTML here, so this only has to read well.
#[must_use]
pub fn without_html(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let named = tag
            .chars()
            .nth(1)
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '/' || c == '!');
        let end = tag.find('>').filter(|_| named);
        let Some(end) = end else {
            out.push('<');
            rest = tag.get(1..).unwrap_or_default();
            continue;
        };
        let name: String = tag
            .chars()
            .skip(1)
            .skip_while(|c| *c == '/')
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        match name.to_ascii_lowercase().as_str() {
            "br" | "p" | "div" | "tr" | "ul" | "ol" | "h1" | "h2" | "h3" | "h4" => out.push('\n'),
            "li" if !tag.starts_with("</") => out.push_str("\n- "),
            _ => {}
        }
        rest = tag.get(end + 1..).unwrap_or_default();
    }
    out.push_str(rest);
    let text = out
        .replace("&nbsp;", " ")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&");
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    // A paragraph begins and ends with a tag: one empty line between two is enough.
    lines.dedup_by(|next, before| next.is_empty() && before.is_empty());
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_reads_well_without_its_tags() {
        assert_eq!(
            without_html(
                "<p>Look at <b>both</b> &amp; decide:</p><ul><li>one</li><li>a &lt; b</li></ul>"
            ),
            "Look at both & decide:\n\n- one\n- a < b"
        );
        assert_eq!(without_html("2 < 3 and 4 > 3"), "2 < 3 and 4 > 3");
        assert_eq!(without_html("a <script>alert(1)"), "a alert(1)");
        assert_eq!(without_html("<b"), "<b");
    }
}
