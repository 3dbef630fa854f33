//! Owns the reading of secrets that may be several, and of secrets under names that the user chose.

use figment::value::Value;

use super::Section;
use crate::config::secret::Secret;

impl Section<'_> {
    /// A secret that may be several: text, or a list of texts, which become lines; or a file.
    pub(in crate::config) fn secrets(
        &self,
        name: &'static str,
        file: &'static str,
    ) -> Option<Secret> {
        let Some(Value::Array(_, entries)) = self.values.get(name) else {
            return self.secret(name, file);
        };
        self.knows(&[name, file]);
        if self.has(file) {
            let remedy = format!("remove {name}, and keep the secrets in {file}, one a line");
            self.hidden(name, &format!("and {file} are both set"), &remedy);
            return None;
        }
        let texts = entries.iter().map(Value::as_str);
        let texts: Option<Vec<_>> = texts.collect();
        if texts.is_none() {
            self.hidden(name, "is not a list of texts", "[\"one\", \"two\"]");
        }
        texts.map(|texts| Secret::Literal(texts.join("\n")))
    }

    /// Every entry of this section, of names that the user chose, as secrets: `name`, or a file in
    /// `name_file`.
    pub(in crate::config) fn secret_texts(&self) -> Vec<(String, Secret)> {
        let entries = self.values.iter().filter_map(|(name, value)| {
            let text = value
                .as_str()
                .map(str::trim)
                .filter(|text| !text.is_empty());
            let Some(text) = text else {
                let remedy =
                    format!("text in double quotes; or keep it in a file and set {name}_file");
                self.hidden(name, "is empty, or not text", &remedy);
                return None;
            };
            let Some(bare) = name.strip_suffix("_file") else {
                return Some((name.clone(), Secret::Literal(text.to_owned())));
            };
            if self.has(bare) {
                let fault = format!("and {bare} are both set");
                self.hidden(name, &fault, &format!("remove {bare}"));
            }
            if let Err(error) = std::fs::File::open(text) {
                let remedy = "check the path, and that the relay's user may read it";
                self.wrong(name, &format!("can't be read: {error}"), remedy);
            }
            Some((bare.to_owned(), Secret::File(text.into())))
        });
        entries.collect()
    }

    /// Something that works, but hardly as intended; the value is not shown.
    pub(in crate::config) fn warn_hidden(&self, name: &str, fault: &str, remedy: &str) {
        let problem = self.make(name, None, fault.to_owned(), remedy.to_owned());
        self.problems.warning(problem);
    }
}
