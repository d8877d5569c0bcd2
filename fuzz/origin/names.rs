//! Whatever a file is called: its name is one plain line, leads nowhere, and what is made of it can be asked for.

use witness_origin::model::{Name, NameMaker};
use witness_origin::rules::{clean, extensions};

pub(crate) fn run(bytes: &[u8]) {
    let original = clean(bytes);
    assert!(!original.chars().any(char::is_control), "{original:?}");
    assert!(!original.contains(['/', '\\']), "{original:?}");
    assert!(original.len() <= 255, "{original:?}");
    for extension in extensions(&original) {
        assert!(!extension.contains(['.', '/']), "{original:?}");
    }
    let name = NameMaker::new(8, vec!["/upload.php".to_owned()]).make(&original);
    assert_eq!(Name::from_path(&name.in_url()), Some(name.clone()), "{original:?}");
    assert!(name.in_url().bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#\\\"".contains(&byte)), "{name}");
    if let Some(name) = Name::from_path(&String::from_utf8_lossy(bytes)) {
        assert!(!name.as_str().contains(['/', '\\', '\0']) && !name.as_str().starts_with('.'));
    }
}
