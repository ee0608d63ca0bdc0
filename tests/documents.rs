//! What is written about the program and what the program is: the man page and the completions are made of the clap tree,
//! and README and CHANGELOG say nothing else. `BLESS=1 cargo test --test documents` writes the files anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};
use vaultlock::cli::args::{Args, Shell};
use vaultlock::cli::complete;
use vaultlock::store::redis::ACL;

/// The page that `man vaultlock` shows.
const FIRST_PAGE: &str = "man/vaultlock.1";

#[test]
fn the_man_pages_are_made_of_the_clap_tree() {
    for (file, page) in pages() {
        bless_or_compare(&file, page.as_bytes());
    }
}

#[test]
fn no_page_is_left_of_a_verb_that_went() {
    let made: BTreeSet<String> = pages().into_iter().map(|(file, _)| file).collect();
    for entry in std::fs::read_dir(root("man")).unwrap() {
        let file = format!("man/{}", entry.unwrap().file_name().into_string().unwrap());
        assert!(!file.ends_with(['1', '7']) || made.contains(&file), "{file} is no page any more: delete it");
    }
}

#[test]
fn the_completions_are_what_the_program_prints() {
    for (shell, file) in [(Shell::Bash, "vaultlock.bash"), (Shell::Zsh, "_vaultlock"), (Shell::Fish, "vaultlock.fish")] {
        bless_or_compare(&format!("completions/{file}"), &complete::script(shell));
    }
}

#[test]
fn every_option_is_in_its_verbs_page_and_every_verb_in_the_first() {
    // Hyphens of options are escaped in roff.
    let pages: Vec<(String, String)> = pages().into_iter().map(|(file, page)| (file, page.replace("\\-", "-"))).collect();
    let page = |wanted: &str| &pages.iter().find(|(file, _)| file == wanted).unwrap().1;
    let mut tree = Args::command();
    tree.build();
    for verb in tree.get_subcommands() {
        let name = verb.get_name();
        assert!(page(FIRST_PAGE).contains(&format!("vaultlock-{name}")), "{name} is missing");
        for arg in verb.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let own = if arg.is_global_set() { FIRST_PAGE.to_owned() } else { format!("man/vaultlock-{name}.1") };
            for long in arg.get_long_and_visible_aliases().unwrap_or_default() {
                assert!(long == "help" || page(&own).contains(&format!("--{long}")), "--{long} is missing in {own}");
            }
        }
    }
}

#[test]
fn every_section_belongs_to_a_page() {
    let verbs: Vec<String> = Args::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    for (page, name, _) in Sections::read(&read("man/sections.txt")).0 {
        assert!(page.is_empty() || page == "7" || verbs.contains(&page), "man/sections.txt: #{page} {name}");
    }
}

#[test]
fn the_exit_codes_are_the_same_everywhere() {
    let source = read("src/exit.rs");
    let mut codes: BTreeSet<u8> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Exit::")?.split_once(" => ")?.1.strip_suffix(',')?.parse().ok())
        .collect();
    assert!(codes.remove(&0), "0 is the job's own, and no row");
    assert!(codes.len() >= 6, "src/exit.rs is written otherwise now: {codes:?}");

    let rows = |text: &str, open: &str, close: &str| -> BTreeSet<u8> {
        let cells = text.lines().filter_map(|line| line.strip_prefix(open)?.split_once(close));
        cells.flat_map(|(cell, _)| cell.split(", ").filter_map(|code| code.trim().parse().ok()).collect::<Vec<_>>()).collect()
    };
    assert_eq!(rows(&section(&read("README.md"), "## Exit codes"), "| ", " |"), codes, "README.md");
    let man = section(&read("man/sections.txt"), "# EXIT STATUS");
    let man: BTreeSet<u8> = man.lines().filter_map(|line| line.strip_prefix(": ")?.parse().ok()).collect();
    assert_eq!(man, codes, "man/sections.txt");
    let mut tree = Args::command();
    let help = tree.find_subcommand_mut("run").unwrap().render_long_help().to_string();
    let help = help.split_once("Exit codes:").expect("run --help lists the exit codes").1;
    assert_eq!(rows(help, "  ", "  "), codes, "vaultlock run --help");
}

#[test]
fn the_readme_names_no_option_that_is_not_there() {
    let mut tree = Args::command();
    tree.build();
    let mut known: BTreeSet<String> = tree.get_subcommands().chain([&tree]).flat_map(longs).collect();
    // Of cargo, of tests/bench and tests/bench-crowd, of etcd, of sem.
    known.extend(
        ["--release", "--path", "--no-default-features", "--features", "--test", "--rounds", "--only", "--svg"]
            .map(str::to_owned),
    );
    known.extend(["--initial-cluster-token", "--fg", "--id", "--st"].map(str::to_owned));
    // What is not there yet has a section of its own.
    let readme = read("README.md");
    let readme = readme.replace(&section(&readme, "## Not there yet"), "");
    for word in readme.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
        if word.starts_with("--") && word.len() > 2 && !word.starts_with("---") {
            assert!(known.contains(word), "README.md: {word}");
        }
    }
}

#[test]
fn the_readme_has_the_acl_that_the_program_asks_for() {
    let readme = words(&read("README.md").replace('\\', " "));
    assert!(readme.contains(&words(ACL)), "README.md lacks: {ACL}");
}

#[test]
fn the_changelog_has_this_version() {
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(read("CHANGELOG.md").lines().any(|line| line.starts_with(&heading)), "CHANGELOG.md lacks {heading}");
}

/// All pages: `(file, text)`.
fn pages() -> Vec<(String, String)> {
    let hand = Sections::read(&read("man/sections.txt"));
    let tree = with_aliases_told(Args::command());
    let mut pages = vec![(FIRST_PAGE.to_owned(), first_page(&tree, &hand)), ("man/vaultlock.7".to_owned(), model_page(&hand))];
    for verb in tree.get_subcommands() {
        pages.push((format!("man/vaultlock-{}.1", verb.get_name()), verb_page(verb, &hand)));
    }
    pages
}

/// The whole program in short: its verbs, and what they have in common.
fn first_page(tree: &Command, hand: &Sections) -> String {
    let mut page = head("vaultlock", "1", "run a job under a named lock");
    page.push_str(".SH SYNOPSIS\n");
    for (at, verb) in tree.get_subcommands().enumerate() {
        page.push_str(if at > 0 { ".br\n" } else { "" });
        page.push_str(&synopsis(verb));
    }
    page.push_str(&hand.of("", |name| name == "DESCRIPTION"));
    let mut verbs = Roff::new();
    verbs.control("SH", ["COMMANDS"]);
    for verb in tree.get_subcommands() {
        verbs.control("TP", []).text([bold(format!("vaultlock-{}", verb.get_name())), roman("(1)")]);
        verbs.text([roman(format!("{}.", about(verb)))]);
    }
    page.push_str(&verbs.to_roff());
    let options = rendered(|out| Man::new(tree.clone()).render_options_section(out));
    page.push_str(&options.replacen(".SH OPTIONS\n", ".SH OPTIONS\nOf every command:\n", 1));
    page + &hand.of("", |name| name != "DESCRIPTION")
}

fn verb_page(verb: &Command, hand: &Sections) -> String {
    let name = format!("vaultlock-{}", verb.get_name());
    let mut page = head(&name, "1", &about(verb).to_lowercase());
    page.push_str(".SH SYNOPSIS\n");
    page.push_str(&synopsis(verb));
    page.push_str(&hand.of(verb.get_name(), |name| name == "DESCRIPTION"));
    page.push_str(&rendered(|out| Man::new(verb.clone().disable_help_flag(true)).render_options_section(out)));
    page.push_str(&hand.of(verb.get_name(), |name| name != "DESCRIPTION"));
    let mut end = Roff::new();
    end.control("SH", ["SEE ALSO"])
        .text([roman("vaultlock(1) has the options of every command, the exit status and the environment.")]);
    end.control("PP", []).text([roman("vaultlock(7) has the model, the promise, the stores and the rules for many at once.")]);
    page + &end.to_roff()
}

fn model_page(hand: &Sections) -> String {
    head("vaultlock", "7", "how it keeps two jobs apart, its stores, and its rules") + &hand.of("7", |_| true)
}

fn head(name: &str, section: &str, about: &str) -> String {
    let mut roff = Roff::new();
    // An empty date keeps the page the same from build to build.
    let version = concat!("vaultlock ", env!("CARGO_PKG_VERSION"));
    let manual = if section == "1" { "User Commands" } else { "Miscellaneous" };
    roff.control("TH", [name.to_uppercase().as_str(), section, "\"\"", version, manual]);
    roff.control("SH", ["NAME"]).text([roman(format!("{name} - {about}"))]);
    let made = ".\\\" Made by tests/documents.rs: change src/cli/args.rs or man/sections.txt.\n";
    // What an apostrophe is, which the pieces below leave to the head.
    let apostrophe = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";
    format!("{made}{apostrophe}{}", roff.to_roff())
}

fn synopsis(verb: &Command) -> String {
    let verb = verb.clone().bin_name(format!("vaultlock {}", verb.get_name())).disable_help_flag(true);
    let synopsis = rendered(|out| Man::new(verb).render_synopsis_section(out));
    synopsis.strip_prefix(".SH SYNOPSIS\n").expect("a section begins with its heading").to_owned()
}

fn about(verb: &Command) -> String {
    verb.get_about().expect("every verb says what it does").to_string()
}

/// clap_mangen leaves out the other names of an option.
fn with_aliases_told(tree: Command) -> Command {
    tree.mut_subcommands(|verb| {
        verb.mut_args(|arg| {
            let others: Vec<String> =
                arg.get_visible_aliases().unwrap_or_default().iter().map(|alias| format!("--{alias}")).collect();
            match arg.get_help() {
                Some(help) if !others.is_empty() => {
                    let help = format!("{help} (also {})", others.join(", "));
                    arg.help(help)
                }
                _ => arg,
            }
        })
    })
}

fn longs(command: &Command) -> Vec<String> {
    let longs = command.get_arguments().filter_map(Arg::get_long_and_visible_aliases).flatten();
    longs.map(|long| format!("--{long}")).collect()
}

fn rendered(render: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    render(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    // Each piece brings the same definitions for the apostrophe; the title's are enough.
    match text.split_once("\n.SH ") {
        Some((_, section)) => format!(".SH {section}"),
        None => text,
    }
}

/// The hand-written sections in their order: whose page, name, roff.
struct Sections(Vec<(String, String, String)>);

impl Sections {
    fn read(text: &str) -> Sections {
        let parts = text.split("\n#").skip(1).map(|part| {
            let (heading, body) = part.split_once('\n').unwrap();
            let (page, name) = heading.split_once(' ').unwrap_or_else(|| panic!("man/sections.txt: #{heading}"));
            (page.to_owned(), name.to_owned(), roff(name, body))
        });
        Sections(parts.collect())
    }

    fn of(&self, page: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.0.iter().filter(|(whose, name, _)| whose == page && wanted(name)).map(|(_, _, text)| text.as_str()).collect()
    }
}

fn roff(name: &str, body: &str) -> String {
    let mut roff = Roff::new();
    roff.control("SH", [name]);
    let mut first = true;
    for paragraph in body.trim_matches('\n').split("\n\n") {
        let lines: Vec<&str> = paragraph.lines().collect();
        if let Some(term) = lines[0].strip_prefix(": ") {
            roff.control("TP", []).text([bold(term)]).text(inlines(&lines[1..]));
        } else if lines[0].starts_with("    ") {
            roff.control("PP", []).control("RS", ["4"]).control("nf", []);
            for line in lines {
                roff.text([roman(line.strip_prefix("    ").unwrap_or(line))]);
            }
            roff.control("fi", []).control("RE", []);
        } else {
            if !first {
                roff.control("PP", []);
            }
            roff.text(inlines(&lines));
        }
        first = false;
    }
    rendered(|out| roff.to_writer(out))
}

/// What stands between backticks is bold.
fn inlines(lines: &[&str]) -> Vec<Inline> {
    let text = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    text.split('`').enumerate().map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

/// From this heading to the next one of its level.
fn section(text: &str, heading: &str) -> String {
    let level = heading.split(' ').next().unwrap();
    let (_, body) = text.split_once(&format!("{heading}\n")).unwrap_or_else(|| panic!("there is no {heading}"));
    body.split(&format!("\n{level} ")).next().unwrap().to_owned()
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn bless_or_compare(file: &str, wanted: &[u8]) {
    let path = root(file);
    if std::env::var_os("BLESS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        return std::fs::write(path, wanted).unwrap();
    }
    let found = std::fs::read(&path).unwrap_or_default();
    let same = found == wanted;
    assert!(same, "{file} is not what the command line says now: run BLESS=1 cargo test --test documents and commit it");
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn root(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}
